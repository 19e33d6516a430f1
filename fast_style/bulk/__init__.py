"""`fast-style bulk`: millions of pictures, on one machine or a cluster, resumed after a kill."""
