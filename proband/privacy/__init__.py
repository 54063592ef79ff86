"""What can leak, measured by attack: is a patient recognisable as one that the synthesizer saw?"""
