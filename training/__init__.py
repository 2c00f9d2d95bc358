"""The training job: a folder of pictures in, a checksummed bundle out."""
