"""What Flit Risk needs in a Google Cloud project: datasets, a bucket, an account with its rights for each service."""
