"""A local web page that shows what runs, in a process of its own that only reads the database."""
