"""The only door to signed metadata and certificates: nothing else imports tuf, securesystemslib or cryptography.

* ``verifier`` (driver) and ``floor`` (pure): what a board believes of TUF metadata, with or without a clock.
* ``identity``: who somebody is and where they sit, by certificate; ``issuing``: the operator's side of it.
* ``joining``: how somebody gets a certificate. ``revocation``: who does not belong any more.
* ``sessions``: how somebody proves itself to one host.

The programs do not use this room yet: offers travel with empty certificate and signature fields, and manifests are
believed by their digest alone.
"""
