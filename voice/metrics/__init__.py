"""Figures for machines: what is counted, where the counts of all workers meet, and what each worker tells of itself.

series.py   every figure, its labels and buckets; docs/metrics.md explains them
counting.py what happens in a call, counted
folder.py   the files in which the workers count, and what becomes of them
    exposure.py the sum of them, as Prometheus reads it
gauges.py   what a worker measures of itself by the clock
"""
