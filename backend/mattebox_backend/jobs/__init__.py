"""The queue: an edit submitted becomes a job, a job that ends well becomes a take."""
