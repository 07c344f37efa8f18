"""An index as an HTTP service: requests in, moments out, for many clients at once."""
