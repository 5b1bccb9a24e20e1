"""Task `alarms`: can one tell, without a reference, that a model has left what it knows?"""
