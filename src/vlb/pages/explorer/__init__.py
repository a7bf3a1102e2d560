"""What `vlb explore` shows, as functions from settings to numbers and from numbers to pieces of HTML: no page is laid
out here, and no server is asked."""
