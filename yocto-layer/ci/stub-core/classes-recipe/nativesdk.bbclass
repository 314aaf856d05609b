# Programs of an SDK.
CLASSOVERRIDE = "class-nativesdk"
PACKAGES:class-nativesdk = ""
