"""Pictures of a report: drawn as SVG by a few lines of our own, made a PNG by resvg."""
