"""Reports: metrics with their spread, measured latencies, gate activity, plots as inline SVG, one self-contained HTML page.

Every figure that leaves this folder carries how it was obtained: measured here, counted, or computed.
"""
