"""A site of Wagtail's whose tasks are ours: the search index, references, files and the purging of caches."""
