"""ZIP packages, layers and images as read-only trees, by digest."""
