"""`boardwright demo`: a whole cluster on one machine, its boards updated twice, one server killed on the way."""
