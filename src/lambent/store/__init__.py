"""Five durable primitives (documents, queue, leases, blobs, streams) and their engines. Not a word of Lambda."""
