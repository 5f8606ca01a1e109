"""Assay's rewards where other stacks look for theirs: TRL, OpenRLHF, verl."""
