"""Tools that come with Tidemill: searching the web, reading pages and files, asking databases."""
