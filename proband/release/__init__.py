"""Out of the door: judged under a policy, labelled as synthetic, signed, and checkable by anybody offline."""
