"""A node as a process: what it keeps on disk, and the files that users certify."""
