"""`fast-style bulk`: millions of pictures, on one machine or a cluster, killed and gone on with."""
