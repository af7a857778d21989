"""A page in the browser on which a model segments photographs: `samlet web`."""

from samlet.web.config import WebConfig
from samlet.web.page import WebPage, make_page
from samlet.web.server import PageServer

__all__ = ["PageServer", "WebConfig", "WebPage", "make_page"]
