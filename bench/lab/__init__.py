"""A chassis system in network namespaces, and how long it takes until all of its boards have the same bytes.

``make lab [ARGS=...]`` (root): chassis are bridges, boards are namespaces, links have a rate. The real server and agent
run in it from the folders that ``boardwright init`` writes, and, with the same payload in the same run, what people use
today. ``shape`` (what there is), ``result`` (what is made of it) and ``settings`` (what is asked for) are pure.
"""
