"""Networks with several outputs: pricing, master problem and descents for vectors of output weights."""
