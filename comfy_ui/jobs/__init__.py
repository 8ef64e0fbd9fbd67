"""Jobs that outlive a page: queue, worker, server monitoring, placement."""
