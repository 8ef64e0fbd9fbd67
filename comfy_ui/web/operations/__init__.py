"""Routes for those who run the app: health, readiness and metrics."""
