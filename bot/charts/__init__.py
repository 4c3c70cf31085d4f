"""Charts of a report: counted figures come in, an SVG or PNG picture goes out.

In reading order:

- scale.py: the scale of a chart, from values to pixels
- svg.py: the chart of a report as SVG, by a few lines of our own
- png.py: the chart as PNG, made by resvg
"""
