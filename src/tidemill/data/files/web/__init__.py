"""Files of HTTP servers: what fsspec's own takes aiohttp for, and more."""

from tidemill.data.files.web.file import WebFile, has_web_file, stat_web

__all__ = ["WebFile", "has_web_file", "stat_web"]
