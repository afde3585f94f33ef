"""Running a job: one sitting from an opened run to a sealed one, and what it says of itself."""
