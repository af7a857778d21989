"""EfficientSAM as published, module for module, for one image and one prompt: what our model must answer."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


class LayerNormOverChannels(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        return self.weight[:, None, None] * (x - mean) / (variance + 1e-6).sqrt() + self.bias[:, None, None]


class EncoderAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        count, dim = x.shape
        q, k, v = self.qkv(x).view(count, 3, self.heads, dim // self.heads).permute(1, 2, 0, 3)
        weights = (q @ k.transpose(1, 2) / (dim // self.heads) ** 0.5).softmax(-1)
        return self.proj((weights @ v).transpose(0, 1).reshape(count, dim))


class EncoderBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = EncoderAttention(dim, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self, dim, heads, depth):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, 16, 16)})
        self.pos_embed = nn.Parameter(torch.zeros(1, 197, dim))
        self.blocks = nn.ModuleList(EncoderBlock(dim, heads) for _ in range(depth))
        self.neck = nn.Sequential(
            nn.Conv2d(dim, 256, 1, bias=False),
            LayerNormOverChannels(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            LayerNormOverChannels(256),
        )

    def forward(self, x):
        x = self.patch_embed["proj"](x)
        side = x.shape[-1]
        table = self.pos_embed[:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
        x = (x + F.interpolate(table, (side, side), mode="bicubic", align_corners=False)).flatten(2)[0].T
        for block in self.blocks:
            x = block(x)
        return self.neck(x.T.view(1, -1, side, side))


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, 128))

    def forward(self, unit):
        angles = 2 * math.pi * ((2 * unit - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], -1)


class Prompts(nn.Module):
    def __init__(self):
        super().__init__()
        self.pe_layer = Positions()
        for name in ("invalid_points", "point_embeddings", "bbox_top_left_embeddings", "bbox_bottom_right_embeddings"):
            setattr(self, name, nn.Embedding(1, 256))


class DecoderAttention(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(256, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, 256)

    def forward(self, q, k, v):
        q, k, v = (
            p(x).view(-1, 8, self.inner // 8).transpose(0, 1)
            for p, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        out = (q @ k.transpose(1, 2) / (self.inner // 8) ** 0.5).softmax(-1) @ v
        return self.out_proj(out.transpose(0, 1).reshape(-1, self.inner))


class Layers(nn.Module):
    """Hidden layers with GELU, then `fc`."""

    def __init__(self, *widths):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(a, b), nn.GELU()) for a, b in pairwise(widths[:-1]))
        self.fc = nn.Linear(widths[-2], widths[-1])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.fc(x)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = DecoderAttention(256)
        self.cross_attn_token_to_image, self.cross_attn_image_to_token = DecoderAttention(128), DecoderAttention(128)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(256) for _ in range(4))
        self.mlp = Layers(256, 2048, 256)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(2))
        self.final_attn_token_to_image, self.norm_final_attn = DecoderAttention(128), nn.LayerNorm(256)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = Transformer()
        self.iou_token, self.mask_tokens = nn.Embedding(1, 256), nn.Embedding(4, 256)
        self.final_output_upscaling_layers = nn.ModuleList(
            [
                nn.Sequential(nn.ConvTranspose2d(256, 64, 2, 2), nn.GroupNorm(1, 64), nn.GELU()),
                nn.Sequential(nn.ConvTranspose2d(64, 32, 2, 2), nn.Identity(), nn.GELU()),
            ]
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Layers(256, 256, 256, 32) for _ in range(4))
        self.iou_prediction_head = Layers(256, 256, 256, 4)


class PublishedEfficientSam(nn.Module):
    """Module tree and names of the published code."""

    def __init__(self, dim=192, heads=3, depth=12):
        super().__init__()
        self.image_encoder, self.prompt_encoder, self.mask_decoder = Encoder(dim, heads, depth), Prompts(), Decoder()

    def forward(self, image, points, labels):
        """Four low-res masks and IoUs of one prompt: image (1, 3, S, S) in [0, 1], points (K, 2) pixels of it."""
        side = image.shape[-1]
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        embedding = self.image_encoder((image - mean[:, None, None]) / std[:, None, None])
        grid = embedding.shape[-1]
        encoder, decoder = self.prompt_encoder, self.mask_decoder
        points = torch.cat([points, torch.full((6, 2), -1.0)])[:6]
        labels = [*labels, *[-1] * 6][:6]
        tables = {
            -1: encoder.invalid_points,
            1: encoder.point_embeddings,
            2: encoder.bbox_top_left_embeddings,
            3: encoder.bbox_bottom_right_embeddings,
        }
        sparse = encoder.pe_layer((points + 0.5) / side)
        sparse = torch.stack(
            [p + (tables[label].weight[0] if label in tables else 0) for p, label in zip(sparse, labels, strict=True)]
        )
        centres = (torch.arange(grid) + 0.5) / grid
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        places = encoder.pe_layer(torch.stack([x, y], -1)).view(-1, 256)
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, sparse])
        own, pixels = tokens, embedding[0].flatten(1).T
        for number, block in enumerate(decoder.transformer.layers):
            if number:
                tokens = tokens + own
            tokens = block.norm1(tokens + block.self_attn(tokens, tokens, tokens))
            tokens = block.norm2(tokens + block.cross_attn_token_to_image(tokens + own, pixels + places, pixels))
            tokens = block.norm3(tokens + block.mlp(tokens))
            pixels = block.norm4(pixels + block.cross_attn_image_to_token(pixels + places, tokens + own, tokens))
        last = decoder.transformer
        tokens = tokens + last.final_attn_token_to_image(tokens + own, pixels + places, pixels)
        tokens = last.norm_final_attn(tokens)
        upscaled = pixels.T.view(1, 256, grid, grid)
        for layer in decoder.final_output_upscaling_layers:
            upscaled = layer(upscaled)
        hyper = torch.stack([mlp(tokens[1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)])
        low_res = (hyper @ upscaled[0].flatten(1)).view(4, 4 * grid, 4 * grid)
        return embedding, low_res, decoder.iou_prediction_head(tokens[0])
