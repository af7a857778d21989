"""A model behind HTTP: images, prompts, everything mode, and the routes of a Label Studio ML backend.

`samlet.serve.app.create_app` makes the application; it needs `pip install 'samlet[serve]'`.
"""

from __future__ import annotations

from samlet.serve.settings import ServeSettings

__all__ = ["ServeSettings"]
