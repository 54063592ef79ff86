"""What people do with synthetic patients."""
