"""The live driver of policies: statistics from the replica, ranking columns as contexts."""
