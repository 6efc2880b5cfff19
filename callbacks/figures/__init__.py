"""What draws: matplotlib figures of histories, runs, schedules and sweeps."""
