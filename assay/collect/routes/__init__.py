"""Routes by what they are for; each module lists its own in ``ROUTES``."""
