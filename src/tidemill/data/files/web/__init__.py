"""Files of HTTP servers: what fsspec's own takes aiohttp for, and more."""

from tidemill.data.files.web.file import WebFile, find_web_absence, stat_web

__all__ = ["WebFile", "find_web_absence", "stat_web"]
