"""Whether episodes that begin in saved states help where exploration is hard."""
