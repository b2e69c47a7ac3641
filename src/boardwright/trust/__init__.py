"""The only door to signed metadata and certificates.

Nobody lives here yet: offers travel with empty certificate and signature fields, and manifests are believed by their
digest alone. The room stands so that the layer rules hold for whoever moves in.
"""
