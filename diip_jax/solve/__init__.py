"""How a problem is solved: one iteration of one image (loop), batches over devices (batch), what it costs (cost)."""
