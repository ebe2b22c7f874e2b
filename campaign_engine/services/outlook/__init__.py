"""What people see of the work: how far a campaign is (progress), when it will end (forecasts), what would hold it up
(preflight), and what is stuck (diagnosis). It reads every other room and writes nothing.
"""
