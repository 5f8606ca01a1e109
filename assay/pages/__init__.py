"""Self-contained HTML pages: the frame, tables, and charts as SVG."""
