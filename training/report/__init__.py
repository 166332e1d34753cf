"""What people look at: pictures of a run, and HTML reports of one run or several."""
