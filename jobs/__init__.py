"""The pipeline on RQ: queues, workers, the scheduler, and what each job does. A job is a hint; the rows decide."""
