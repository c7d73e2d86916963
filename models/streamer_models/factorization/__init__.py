"""Matrix factorization of implicit and explicit feedback, learned online."""
