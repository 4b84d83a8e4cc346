"""What two services or more use, each package under the name of its job."""
