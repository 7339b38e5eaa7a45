"""What people read: reports, charts, figures, standing texts."""
