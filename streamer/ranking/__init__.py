"""What candidates are ranked by: the columns that learner and scorer agree on."""
