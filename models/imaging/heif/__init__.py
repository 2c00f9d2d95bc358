"""Pictures in ISO media files: HEIC (HEVC) and AVIF (AV1)."""
