"""What can be recommended: the items topic, as it is followed and looked up."""
