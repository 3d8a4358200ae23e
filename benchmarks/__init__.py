"""Side by side in one run: a native driver on the head node, Ray Client, and raymq."""
